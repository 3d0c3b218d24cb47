"""The paper's tables: networks are trained once, and figures set next to the printed ones."""
