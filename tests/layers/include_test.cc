// Compiled, and expected not to compile, with the include directories of one room.
#include FMA_HEADER
