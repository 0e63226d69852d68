#include <set>
#include <string>

#include "base/names.h"
#include "server/access/token_file.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto entries = fmaserver::access::ParseTokenFile(fmaserver::AsText(data, size), "tokens");
  if (!entries.ok()) return 0;
  Require(!entries->empty());
  std::set<fmaserver::access::TokenDigest> digests;
  for (const fmaserver::access::TokenEntry& entry : *entries) {
    Require(fmaserver::IsName(entry.tenant) && digests.insert(entry.digest).second);
    const fmaserver::access::TenantLimits& limits = entry.limits;
    Require(limits.concurrent >= 0 && limits.tokens_per_minute >= 0 && limits.sessions >= 0);
  }
  return 0;
}
