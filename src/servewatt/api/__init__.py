"""The public API behind `import servewatt`, in modules that are imported when they are used."""
