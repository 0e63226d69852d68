#include "clients/cpp/alternatives.h"

namespace fmaserver {

nlohmann::json AlternativesToJson(
    const google::protobuf::RepeatedPtrField<v1::TokenLogprob>& alternatives) {
  nlohmann::json array = nlohmann::json::array();
  for (const v1::TokenLogprob& token : alternatives) {
    array.push_back(
        {{"token_id", token.token_id()}, {"token", token.token()}, {"logprob", token.logprob()}});
  }
  return array;
}

}  // namespace fmaserver
