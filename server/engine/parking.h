// States of sessions outside the slots, in fewer bytes than in them.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "kernels/fma/cache_type.h"
#include "kernels/fma/spec.h"
#include "server/engine/snapshot.h"

namespace fmaserver::engine {

/// The one place where states change their type: at the end of a turn, and when a sequence begins
/// with one. Thread-safe.
class Parking {
 public:
  /// For slots of SlotLayout(spec, layers, slots). `parked` absent: states keep their type.
  /// INVALID_ARGUMENT for a type that is larger than the slots'.
  static absl::StatusOr<Parking> Create(const kernels::AttentionSpec& spec, int32_t layers,
                                        kernels::CacheType slots,
                                        std::optional<kernels::CacheType> parked);

  kernels::CacheType type() const { return parked_; }
  /// Of a parked state, without its archive.
  int64_t bytes() const;

  /// The state as it is parked; itself when it is no larger already, and null for null.
  SnapshotPtr Park(SnapshotPtr state) const;

  /// The state as a slot takes it: what Park returned, or a state of a server with other options.
  /// Parked again, it has the same bytes. INVALID_ARGUMENT for a type that is larger than the
  /// slots', or a state of another size.
  absl::StatusOr<SnapshotPtr> Restore(SnapshotPtr state) const;

 private:
  Parking(const kernels::AttentionSpec& spec, int32_t layers, kernels::CacheType slots,
          kernels::CacheType parked)
      : spec_(spec), layers_(layers), slots_(slots), parked_(parked) {}

  int64_t BytesOf(kernels::CacheType type) const;
  SnapshotPtr Converted(SnapshotPtr state, kernels::CacheType type) const;

  kernels::AttentionSpec spec_;
  int32_t layers_;
  kernels::CacheType slots_;
  kernels::CacheType parked_;
};

}  // namespace fmaserver::engine
