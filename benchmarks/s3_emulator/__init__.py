"""An object store in memory that speaks S3 over HTTP, as slow and as faulty as it is told to be."""
