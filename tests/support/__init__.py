"""What tests share: real processes, a real app, a lean client. Nothing here stands in for a part of reamp."""
