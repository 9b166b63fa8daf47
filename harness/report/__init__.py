"""What people read of a run: page, PDF, figures, JUnit, job summary, terminal table."""
