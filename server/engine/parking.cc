#include "server/engine/parking.h"

#include <memory>
#include <string>
#include <utility>

#include "base/refusal.h"
#include "base/text.h"
#include "kernels/fma/parked_type.h"
#include "kernels/fma/slot_layout.h"
#include "kernels/host/convert_slot.h"

namespace fmaserver::engine {

absl::StatusOr<Parking> Parking::Create(const kernels::AttentionSpec& spec, int32_t layers,
                                        kernels::CacheType slots,
                                        std::optional<kernels::CacheType> parked) {
  const kernels::CacheType type = parked.value_or(slots);
  if (kernels::FitsInto(type, slots)) return Parking(spec, layers, slots, type);
  return Refusal(
      "parked dtype", NameOf(type),
      Concat("as-is or ", kernels::NamesOfFitting(slots), ", as slots are ", NameOf(slots)));
}

int64_t Parking::BytesOf(kernels::CacheType type) const {
  return kernels::SlotLayout(spec_, layers_, type).slot_bytes;
}

int64_t Parking::bytes() const { return BytesOf(parked_); }

SnapshotPtr Parking::Converted(SnapshotPtr state, kernels::CacheType type) const {
  if (state == nullptr || state->type() == type) return state;
  auto converted = std::make_shared<Snapshot>(state->tokens(), BytesOf(type), type);
  kernels::ConvertSlot(spec_, layers_, state->type(), state->bytes(), type,
                       converted->mutable_bytes());
  return converted;
}

SnapshotPtr Parking::Park(SnapshotPtr state) const {
  // A turn that reads nothing gives back what it began with, which may be smaller than parked ones.
  const bool shrinks = state != nullptr && !kernels::FitsInto(state->type(), parked_);
  return shrinks ? Converted(std::move(state), parked_) : state;
}

absl::StatusOr<SnapshotPtr> Parking::Restore(SnapshotPtr state) const {
  if (!kernels::FitsInto(state->type(), slots_)) {
    return Refusal("type of the state", NameOf(state->type()),
                   Concat(kernels::NamesOfFitting(slots_), ", as slots are ", NameOf(slots_)));
  }
  const auto bytes = std::ssize(state->bytes());
  if (bytes != BytesOf(state->type())) {
    return Refusal("state", Words{Concat(bytes, " bytes")},
                   Concat(BytesOf(state->type()), " bytes in ", NameOf(state->type())));
  }
  return Converted(std::move(state), slots_);
}

}  // namespace fmaserver::engine
