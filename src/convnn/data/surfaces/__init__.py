"""Points, meshes, exact shapes and photographs of surfaces, generated and from files."""
