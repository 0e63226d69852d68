// The passages of the past that an answer was read from, added up over its tokens.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "fma/v1/generation.pb.h"

namespace fmaserver::client {

/// An array of objects: first_token, end_token, share, text, first_byte and end_byte (null where
/// they are not known).
nlohmann::json SourcesToJson(const v1::Sources& sources);

class Passages {
 public:
  void Add(const v1::Delta& delta);

  /// For people: a line for each of the passages that got the most attention; empty: there are
  /// none.
  std::string Table() const;

 private:
  struct Passage {
    v1::Source source;
    double share = 0;  // summed over tokens
  };

  std::map<uint64_t, Passage> passages_;  // by first token
  int64_t tokens_ = 0;
};

}  // namespace fmaserver::client
