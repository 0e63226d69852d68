// Encodes texts for compare.py, which asks the original library about the same ones.
//
//     encode_lines TOKENIZER_JSON < REQUESTS > ANSWERS
//
// A request is a line of JSON, {"text": ..., "control": bool} or {"ids": [...]}; its answer is
// {"ids": [...]} or {"text": ...}, or {"error": ...}.
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "base/file.h"
#include "model_loader/tokenizer_json/tokenizer.h"
#include "nlohmann/json.hpp"

namespace {

using fmaserver::model::ControlTokens;
using fmaserver::model::Tokenizer;
using nlohmann::json;

json Answer(const Tokenizer& tokenizer, const json& request) {
  if (request.contains("ids")) {
    const auto text = tokenizer.Decode(request.at("ids").get<std::vector<int32_t>>());
    return text.ok() ? json{{"text", *text}} : json{{"error", text.status().ToString()}};
  }
  const auto control =
      request.value("control", false) ? ControlTokens::kAreFound : ControlTokens::kStayText;
  const auto ids = tokenizer.Encode(request.at("text").get<std::string>(), control);
  return ids.ok() ? json{{"ids", *ids}} : json{{"error", ids.status().ToString()}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: encode_lines TOKENIZER_JSON < REQUESTS > ANSWERS\n";
    return 2;
  }
  constexpr size_t kMostBytes = size_t{64} << 20;
  const auto content = fmaserver::ReadWholeFile(argv[1], kMostBytes);
  if (!content.ok()) {
    std::cerr << content.status() << "\n";
    return 1;
  }
  const auto tokenizer =
      fmaserver::model::MakeJsonTokenizer(*content, argv[1], std::numeric_limits<int32_t>::max());
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Answer(**tokenizer, json::parse(line)).dump() << "\n";
  }
}
