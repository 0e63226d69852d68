// From the bytes of a request to what it asks for, and the model that it asks.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "server/openai/exchange.h"
#include "server/openai/generate_job.h"
#include "server/service/service.h"
#include "server/service/tokens.h"

namespace fmaserver::openai {

/// The JSON object of a body. INVALID_ARGUMENT says what is wrong where.
absl::StatusOr<nlohmann::json> ParseBody(std::string_view body);

/// The name of the model that `body` asks for; empty: none. INVALID_ARGUMENT for what is no name.
absl::StatusOr<std::string> ModelOf(const nlohmann::json& body);

/// A body, and the model that it is for.
struct Addressed {
  nlohmann::json body;
  models::ModelPtr model;
};

/// Of an admitted request. The errors of the two above, and NOT_FOUND for a model that is not
/// served.
absl::StatusOr<Addressed> ParseAddressed(const service::Service& service, const Request& request);

/// What `body`, a completion or a `chat`, asks of a model with this vocabulary; of responses:
/// response_request.h.
absl::StatusOr<GenerateJob> ReadJob(const nlohmann::json& body, bool chat,
                                    const service::Vocabulary& vocabulary);

}  // namespace fmaserver::openai
