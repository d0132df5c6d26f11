"""The demo on real data: delivers files, sends requests to the service, and watches what the platform does."""
