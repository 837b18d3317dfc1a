"""What `ops doctor` looks at before a deploy, a module for each subject."""
