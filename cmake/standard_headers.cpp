// What the precompiled header (targets.cmake) is compiled with.
