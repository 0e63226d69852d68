// What every program does before anything else, so that an ordinary day does not end it.
#pragma once

namespace fmaserver {

/// Descriptors 0 to 2 are there afterwards, so that no file or socket takes the place of an output
/// that was closed: writing to one of those fails as if it still were. And who writes to a reader
/// that went away, or past a file's size limit, gets an error, no signal.
///
/// A program that calls it in main() has it run before main() as well: the constructors of shared
/// libraries, gRPC's among them, open descriptors.
void PrepareProcess();

}  // namespace fmaserver
