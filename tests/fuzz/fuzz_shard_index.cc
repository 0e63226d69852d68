#include "model_loader/shard_index.h"
#include "tests/fuzz/fuzz_target.h"

using fmaserver::Require;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto index = fmaserver::model::ParseShardIndex(fmaserver::AsText(data, size), "index");
  if (!index.ok()) return 0;
  Require(!index->empty());
  for (const auto& [file, tensors] : *index) {
    Require(!tensors.empty());
    Require(file.find('/') == std::string::npos && file != "." && file != "..");
  }
  return 0;
}
