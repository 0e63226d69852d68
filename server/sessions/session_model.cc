#include "server/sessions/session_model.h"

#include "base/refusal.h"
#include "base/text.h"
#include "kernels/fma/parked_type.h"

namespace fmaserver::sessions {

absl::StatusOr<int64_t> SessionModel::BytesOf(kernels::CacheType state) const {
  if (state == type) return slot_bytes;
  if (kernels::FitsInto(state, type)) {
    for (const OtherSlots& other : others) {
      if (other.type == state) return other.slot_bytes;
    }
  }
  return Refusal("type of a state", Words{std::string(NameOf(state))},
                 Concat(kernels::NamesOfFitting(type), ", as slots are ", NameOf(type)),
                 absl::StatusCode::kFailedPrecondition);
}

absl::StatusOr<kernels::CacheType> SessionModel::TypeOf(std::string_view record) const {
  if (record == fingerprint) return type;
  for (const OtherSlots& other : others) {
    if (record == other.fingerprint) return other.type;
  }
  return Refusal("model", Words{"another model"},
                 "the one that is served, with its types of cache, archive and weights",
                 absl::StatusCode::kFailedPrecondition);
}

}  // namespace fmaserver::sessions
