#include "clients/cpp/token_json.h"

namespace fmaserver::client {

nlohmann::json AlternativesToJson(
    const google::protobuf::RepeatedPtrField<v1::TokenLogprob>& alternatives) {
  nlohmann::json array = nlohmann::json::array();
  for (const v1::TokenLogprob& token : alternatives) {
    array.push_back(
        {{"token_id", token.token_id()}, {"token", token.token()}, {"logprob", token.logprob()}});
  }
  return array;
}

nlohmann::json TokenScoreToJson(const char* event, const v1::TokenScore& score) {
  nlohmann::json object = {
      {"event", event}, {"token_id", score.token_id()}, {"token", score.token()}};
  object["logprob"] = score.has_logprob() ? nlohmann::json(score.logprob()) : nlohmann::json();
  if (score.top_size() > 0) object["top"] = AlternativesToJson(score.top());
  return object;
}

}  // namespace fmaserver::client
