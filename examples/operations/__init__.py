"""Operations: servers, incidents and automations, on one live channel of which everybody sees what they may."""
