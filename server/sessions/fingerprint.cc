#include "server/sessions/fingerprint.h"

#include "base/sha256.h"
#include "base/text.h"

namespace fmaserver::sessions {

std::string ModelFingerprint(std::string_view checkpoint, const kernels::SlotLayout& layout) {
  Sha256 hash;
  hash.Update(checkpoint);
  hash.Update(Concat("dtype ", static_cast<int>(layout.type), ", layout ",
                     kernels::kSlotLayoutVersion, ", bytes ", layout.slot_bytes));
  return hash.Digest();
}

}  // namespace fmaserver::sessions
