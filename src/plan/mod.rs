//! Tasks and their graph, made from a watchfile. Pure: looks at no disk and no clock.
