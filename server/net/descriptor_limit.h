// How many descriptors the process may have, and what it keeps them for.
#pragma once

#include "absl/status/statusor.h"
#include "server/net/connection_table.h"

namespace fmaserver::net {

/// Raises the soft limit of descriptors to the hard one, for the whole process.
void RaiseDescriptorLimit();

/// The soft limit.
int DescriptorLimit();

/// The limits of connections for a process of `descriptors`. 0 stands for what fits: `total` leaves
/// enough for the HTTP port and for session files and is 4,096 at most, `per_address` is half of
/// `total`. INVALID_ARGUMENT for more connections than there are descriptors left.
absl::StatusOr<ConnectionLimits> LimitsFor(int descriptors, int total, int per_address);

}  // namespace fmaserver::net
