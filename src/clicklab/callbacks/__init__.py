"""Lightning callbacks: NoC, the last checkpoint, compiled parts."""
