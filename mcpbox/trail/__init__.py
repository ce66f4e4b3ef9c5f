"""What can be made of the audit: shown, exported, learned from, replayed under another profile."""
