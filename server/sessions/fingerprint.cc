#include "server/sessions/fingerprint.h"

#include "base/sha256.h"
#include "base/text.h"

namespace fmaserver::sessions {

std::string ModelFingerprint(std::string_view checkpoint, const kernels::SlotLayout& layout,
                             std::string_view rounded_to) {
  Sha256 hash;
  hash.Update(checkpoint);
  hash.Update(Concat("dtype ", static_cast<int>(layout.type), ", layout ",
                     kernels::kSlotLayoutVersion, ", bytes ", layout.slot_bytes));
  if (layout.archive_type != layout.type) {
    hash.Update(Concat(", archive ", static_cast<int>(layout.archive_type)));
  }
  if (!rounded_to.empty()) hash.Update(Concat(", weights ", rounded_to));
  return hash.Digest();
}

std::vector<OtherSlots> OtherSlotsOf(std::string_view checkpoint,
                                     const kernels::AttentionSpec& spec, int32_t layers,
                                     kernels::CacheType slots, std::string_view rounded_to) {
  std::vector<OtherSlots> others;
  for (const auto type :
       {kernels::CacheType::kF32, kernels::CacheType::kBF16, kernels::CacheType::kInt8}) {
    if (type == slots) continue;
    const kernels::SlotLayout layout(spec, layers, type);
    others.push_back({type, ModelFingerprint(checkpoint, layout, rounded_to), layout.slot_bytes});
  }
  return others;
}

}  // namespace fmaserver::sessions
