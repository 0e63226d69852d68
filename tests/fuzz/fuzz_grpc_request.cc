#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "fma/v1/generation.pb.h"
#include "inference/grpc_service.pb.h"
#include "model_loader/tokenizer.h"
#include "server/kserve/infer_request.h"
#include "server/rpc/from_wire.h"
#include "server/service/generate_request.h"
#include "server/vllm/from_wire.h"
#include "tests/fuzz/fuzz_target.h"
#include "vllm/inference.pb.h"

using fmaserver::Require;

namespace {

namespace service = fmaserver::service;

constexpr int64_t kVocabulary = 256;

const service::Vocabulary& Bytes() {
  static const service::Vocabulary vocabulary{
      .tokenizer = fmaserver::model::MakeByteTokenizer(kVocabulary), .size = kVocabulary};
  return vocabulary;
}

void RequireKnown(const std::vector<int32_t>& ids) {
  Require(std::ranges::all_of(ids, [](int32_t id) { return id >= 0 && id < kVocabulary; }));
}

/// The service takes what a door read, or refuses it.
void Check(absl::StatusOr<service::GenerateRequest> request) {
  if (!request.ok()) return;
  if (request->prompt.ids.has_value()) RequireKnown(*request->prompt.ids);
  const auto ready = service::ForEngine(*std::move(request), "tenant", Bytes(), {});
  if (ready.ok()) RequireKnown(ready->prompt);
}

/// The message that the bytes are, if they are one.
template <class Message, class Use>
void Read(const uint8_t* data, size_t size, const Use& use) {
  Message message;
  const bool fits = size <= std::numeric_limits<int>::max();
  if (fits && message.ParseFromArray(data, static_cast<int>(size))) use(std::move(message));
}

}  // namespace

/// A request of each of the gRPC doors.
int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using fmaserver::rpc::FromWire;
  namespace v1 = fmaserver::v1;
  Read<v1::GenerateRequest>(data, size,
                            [](auto message) { Check(FromWire(std::move(message), Bytes())); });
  Read<v1::ChatRequest>(data, size,
                        [](auto message) { Check(FromWire(std::move(message), Bytes())); });
  Read<v1::ScoreRequest>(data, size,
                         [](auto message) { (void)FromWire(std::move(message), Bytes()); });
  Read<vllm::GenerateRequest>(data, size, [](auto message) {
    auto request = fmaserver::vllm::FromWire(std::move(message), Bytes());
    if (request.ok()) Check(std::move(request->generate));
  });
  Read<inference::ModelInferRequest>(data, size, [](const auto& message) {
    for (const bool pieces : {false, true}) {
      fmaserver::kserve::AnswerForm form{.pieces = pieces};
      Check(fmaserver::kserve::FromWire(message, Bytes(), form));
    }
  });
  return 0;
}
