// What a sequence keeps besides its slot when its model asks for an archive: the same number of
// bytes for every token that has left the near field, appended and never rewritten. As with slots,
// the size follows from the token count alone. No model asks for an archive yet.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/fma/levels.h"

namespace fmaserver::kernels {

struct ArchiveLayout {
  Hierarchy hierarchy;
  int64_t token_bytes = 0;  ///< in all layers and KV heads; 0: there is no archive

  /// How many of its first tokens are archived once a sequence has `tokens`: whole fine groups,
  /// except the one that the next token is in and the one before it.
  constexpr int64_t ArchivedTokens(int64_t tokens) const {
    return std::max<int64_t>(0, hierarchy.FineGroup(tokens) - 1) * hierarchy.group_size;
  }

  constexpr int64_t Bytes(int64_t tokens) const { return ArchivedTokens(tokens) * token_bytes; }
};

}  // namespace fmaserver::kernels
