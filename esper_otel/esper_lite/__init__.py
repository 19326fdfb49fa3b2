"""esper-lite: the dialect of its logs (:mod:`.dialect`) and its hub as a producer (:mod:`.producer`)."""
