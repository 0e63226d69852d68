// What a sequence keeps beside its slot when its model asks for an archive: the same number of
// bytes for every token that has left the near field, appended and never rewritten. How many follow
// from the token count alone, as with slots. No model asks for one yet.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/fma/levels.h"

namespace fmaserver::kernels {

struct ArchiveLayout {
  Hierarchy hierarchy;
  int64_t token_bytes = 0;  ///< in all layers and KV heads; 0: there is no archive

  /// Tokens [0, .) are archived once a sequence has `tokens`: whole fine groups, all but the one
  /// that the next token is in and the one before it.
  constexpr int64_t ArchivedTokens(int64_t tokens) const {
    return std::max<int64_t>(0, hierarchy.FineGroup(tokens) - 1) * hierarchy.group_size;
  }

  constexpr int64_t Bytes(int64_t tokens) const { return ArchivedTokens(tokens) * token_bytes; }
};

}  // namespace fmaserver::kernels
