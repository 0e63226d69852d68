// The model that sessions belong to, and the types in which their states may be kept.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/fma/cache_type.h"
#include "server/engine/archive.h"

namespace fmaserver::sessions {

/// The same model with slots of another type.
struct OtherSlots {
  kernels::CacheType type{};
  std::string fingerprint;
  int64_t slot_bytes = 0;
};

/// The model that every state in the store must belong to.
struct SessionModel {
  std::string fingerprint;  ///< ModelFingerprint(): 32 bytes
  int64_t slot_bytes = 0;
  int64_t vocab_size = 0;
  /// Where chunks of archives are restored; null: this server keeps none, and leaves those on the
  /// shelf alone.
  std::shared_ptr<engine::ArchiveSource> archives = {};
  kernels::CacheType type = kernels::CacheType::kF32;  ///< of the slots
  std::vector<OtherSlots> others = {};

  /// The bytes of a state whose elements have this type. FAILED_PRECONDITION for a type that does
  /// not fit into the slots, or that the model is not known to have.
  absl::StatusOr<int64_t> BytesOf(kernels::CacheType state) const;

  /// The type of the slots that a record's fingerprint names. FAILED_PRECONDITION for another
  /// model.
  absl::StatusOr<kernels::CacheType> TypeOf(std::string_view record) const;
};

}  // namespace fmaserver::sessions
