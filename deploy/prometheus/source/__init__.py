"""Tables that the rule files and their pages are written from."""
