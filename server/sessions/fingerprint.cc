#include "server/sessions/fingerprint.h"

#include "model_loader/sha256.h"
#include "model_loader/text.h"

namespace fmaserver {

std::string ModelFingerprint(std::string_view checkpoint, const SlotLayout& layout) {
  Sha256 hash;
  hash.Update(checkpoint);
  hash.Update(Concat("dtype ", static_cast<int>(layout.dtype), ", layout ", kSlotLayoutVersion,
                     ", bytes ", layout.slot_bytes));
  return hash.Digest();
}

}  // namespace fmaserver
