// The answer to POST /v1/embeddings: one call of the service, and its vectors as JSON.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/openai/embedding_request.h"
#include "server/openai/exchange.h"
#include "server/openai/hall.h"
#include "server/openai/loop_wire.h"
#include "server/service/encoding.h"

namespace fmaserver::openai {

/// Lives on the loop's thread, until its call is over and the answer is sent.
class EmbeddingAnswer final : public EventReader<service::EncodeEvent>,
                              public std::enable_shared_from_this<EmbeddingAnswer> {
 public:
  /// Answers `request`, which asked for `job`. `hall` outlives the answer.
  static void Start(Hall& hall, EmbeddingJob job, Request request,
                    std::shared_ptr<Responder> responder);

  void OnEvent(size_t call, service::EncodeEvent event) override;
  void OnEnd(size_t call, const absl::Status& status) override;

 private:
  EmbeddingAnswer(Hall& hall, EmbeddingJob job, Request request,
                  std::shared_ptr<Responder> responder);

  void StartCall();
  void Take(service::EncodeEvent event);
  void Cancel(const absl::Status& why);
  void LetGo();
  void Complete();
  void Fail(const absl::Status& status);
  std::string Body() const;

  Hall& hall_;
  EmbeddingJob job_;
  const Request request_;
  const std::shared_ptr<Responder> responder_;

  std::shared_ptr<service::Encoding> encoding_;  // while it runs
  std::vector<std::vector<float>> embeddings_;   // of each text
  int64_t tokens_ = 0;
  size_t bytes_ = 0;   // of embeddings_
  bool over_ = false;  // the answer is complete, or nobody wants it
};

}  // namespace fmaserver::openai
