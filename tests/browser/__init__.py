"""A real browser before a real server: Debian's Chromium, driven by Playwright."""
