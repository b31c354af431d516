"""The race: from paired scores to a decision and its sentence. Begin reading at `race`."""
