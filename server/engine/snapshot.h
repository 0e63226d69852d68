// The state of a sequence, taken out of its slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "kernels/fma/cache_type.h"

namespace fmaserver::engine {

/// The bytes of a slot that has taken exactly tokens() tokens. It is filled once and then never
/// changed, so any number of sessions, rewind points and cache entries can share it, which makes a
/// fork free.
class Snapshot {
 public:
  /// Allocates `bytes` bytes with unspecified contents. `type`: of the slot's elements, which may
  /// be another than in the slot that they came from (parking.h).
  Snapshot(int64_t tokens, int64_t bytes, kernels::CacheType type = kernels::CacheType::kF32)
      : tokens_(tokens),
        type_(type),
        data_(std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(bytes))),
        size_(static_cast<size_t>(bytes)) {}

  int64_t tokens() const { return tokens_; }
  kernels::CacheType type() const { return type_; }
  std::span<const std::byte> bytes() const { return {data_.get(), size_}; }
  std::span<std::byte> mutable_bytes() { return {data_.get(), size_}; }

 private:
  const int64_t tokens_;
  const kernels::CacheType type_;
  const std::unique_ptr<std::byte[]> data_;
  const size_t size_;
};

using SnapshotPtr = std::shared_ptr<const Snapshot>;

}  // namespace fmaserver::engine
