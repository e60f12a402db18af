"""What the dashboards show, as frozen tables of panels, and how they become Grafana's JSON."""
