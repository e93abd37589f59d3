// What there is to know: notifications, workflows, announcements, and who is there.
import { Permission } from '../api'
import { Announce, Announcements } from '../parts/announcements'
import { Composer } from '../parts/composer'
import { Inbox } from '../parts/inbox'
import { People } from '../parts/people'
import { Workflows } from '../parts/workflows'
import { useMay } from '../store'

export function Dashboard() {
  const maySend = useMay(Permission.SEND)
  const maySeeWorkflows = useMay(Permission.READ)
  const mayAnnounce = useMay(Permission.ANNOUNCE)
  return (
    <main className="page" id="content">
      <Announcements />
      <div className="dashboard">
        <div className="stack">
          <Inbox />
          {maySeeWorkflows && <Workflows />}
        </div>
        <div className="stack">
          <People />
          {maySend && <Composer />}
          {mayAnnounce && <Announce />}
        </div>
      </div>
    </main>
  )
}
