"""Nearest items under a filter: exact scan, graph, lists, and a planner that picks among them and still gives k."""
