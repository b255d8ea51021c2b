"""What `import servewatt` offers, in modules that are imported when they are used."""
