"""Who hears of an alert, and which alerts are silenced by others."""
