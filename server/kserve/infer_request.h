// A request to infer becomes a request to generate, and the form of its answers.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"
#include "server/service/generate_request.h"
#include "server/service/tokens.h"

namespace fmaserver::kserve {

inline constexpr char kTextInput[] = "text_input";
inline constexpr char kTextOutput[] = "text_output";
inline constexpr char kFinishReason[] = "finish_reason";
/// Two names of one input: Triton's vLLM backend has the first, Dynamo the second.
inline constexpr char kStream[] = "stream";
inline constexpr char kStreaming[] = "streaming";
inline constexpr char kSamplingParameters[] = "sampling_parameters";
inline constexpr char kModelVersion[] = "1";

/// How a request wants its answers.
struct AnswerForm {
  std::string id = {};     ///< the request's
  std::string model = {};  ///< that it is answered by
  bool text = true;        ///< the outputs that it asks for
  bool finish_reason = true;
  bool raw = true;      ///< contents as raw bytes
  bool pieces = false;  ///< several answers, each with what is new of the text
};

/// The most tokens of an answer in one piece, which gRPC's clients take up to 4 MiB of.
inline constexpr int64_t kMaxWholeTokens = 1 << 16;

/// `form.pieces` says whether the call can have several answers, and then whether it has. The rest
/// of `form` is filled too, but for the model. INVALID_ARGUMENT names what is wrong.
absl::StatusOr<service::GenerateRequest> FromWire(inference::ModelInferRequest message,
                                                  const service::Vocabulary& vocabulary,
                                                  AnswerForm& form);

}  // namespace fmaserver::kserve
