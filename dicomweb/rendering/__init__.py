"""Pictures and texts of instances: decoded samples and metadata in, pixels or markup out; no input and output."""
