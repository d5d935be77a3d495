"""What each page shows, read from the services: one function a page, which makes all that its template names."""
