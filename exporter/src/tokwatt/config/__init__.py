"""YAML to frozen dataclasses, strictly, with line numbers and suggestions."""
