"""Notifications: what each user is told, who is there, workflows and announcements, on one stream for each user."""
