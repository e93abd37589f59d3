-- The tables of the application, as its team documented them. May run at every start. There is nothing of Headwater here:
-- whatever writes these rows, psql included, writes plain SQL.

CREATE TABLE IF NOT EXISTS ingestion_sources (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id text NOT NULL CHECK (project_id ~ '^[a-z0-9-]{1,60}$'),
    source_name text NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'missing')),
    error text, -- why it failed
    title text,
    words integer,
    content text, -- what was read; nobody outside is told
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, source_name)
);

CREATE TABLE IF NOT EXISTS jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id text NOT NULL CHECK (project_id ~ '^[a-z0-9-]{1,60}$'),
    folder text NOT NULL, -- to be indexed; nobody outside is told
    status text NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'complete', 'failed')),
    progress_stage text NOT NULL DEFAULT 'queued',
    progress_current integer NOT NULL DEFAULT 0,
    progress_total integer NOT NULL DEFAULT 0,
    progress_message text NOT NULL DEFAULT 'Waiting for a worker',
    progress_updated_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One at a time: whoever starts another one shares it.
CREATE UNIQUE INDEX IF NOT EXISTS jobs_under_way ON jobs (project_id) WHERE status IN ('queued', 'running');

CREATE TABLE IF NOT EXISTS proposed_nodes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    project_id text NOT NULL CHECK (project_id ~ '^[a-z0-9-]{1,60}$'),
    source_id uuid REFERENCES ingestion_sources ON DELETE SET NULL,
    title text NOT NULL,
    summary text NOT NULL DEFAULT '',
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'accepted', 'rejected')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, title)
);
