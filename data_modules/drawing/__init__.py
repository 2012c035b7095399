"""How the scenes of Shapes are drawn: outlines and textures."""
