#include "server/kserve/infer_stream.h"

#include <string>
#include <utility>

#include "server/kserve/start_call.h"
#include "server/rpc/begin_call.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/status.h"
#include "server/rpc/text_field.h"

namespace fmaserver::kserve {

InferStream* InferStream::Open(service::Service& service, grpc::CallbackServerContext& context) {
  const std::shared_ptr<InferStream> self(new InferStream(service, context));
  self->self_ = self;
  self->first_ = rpc::BeginCall(service, service::kModelStreamInfer, context);
  const absl::Status admission = self->first_->admission();
  if (admission.ok()) {
    self->StartSendInitialMetadata();
    self->ReadNext();
  } else {
    self->first_->SetStatus(admission);
    self->first_.reset();
    self->ServerBidiReactor::Finish(rpc::ToGrpcStatus(admission));
  }
  return self.get();
}

void InferStream::OnReadDone(bool ok) {
  if (!ok) return EndStream();
  auto call = std::move(first_);
  if (call == nullptr) {
    call = service_.Begin(service::kModelStreamInfer, rpc::MetadataOf(context_));
  }
  Start(std::move(call));
}

void InferStream::Start(std::shared_ptr<service::Call> call) {
  answers_ = Answers();
  answers_.form.pieces = true;
  {
    const std::lock_guard lock(mutex_);
    call_ = StartCall(service_, std::move(call), request_, answers_, self_);
  }
  // Whoever left before the call was stored was not heard.
  if (context_.IsCancelled()) OnCancel();
}

bool InferStream::Write(const service::GenerateEvent& event) {
  auto answer = answers_.After(event);
  if (!answer.has_value()) return false;
  inference::ModelStreamInferResponse response;
  *response.mutable_infer_response() = *std::move(answer);
  Send(response);
  return true;
}

void InferStream::Finish(const absl::Status& status) {
  if (status.ok()) return ReadNext();
  inference::ModelStreamInferResponse response;
  response.set_error_message(std::string(status.message()));
  response.mutable_infer_response()->set_id(RequestId());
  answered_ = true;
  Send(response);
}

std::string InferStream::RequestId() const {
  if (!answers_.form.id.empty()) return answers_.form.id;
  // The request may have been refused before it was parsed.
  constexpr int kId[] = {inference::ModelInferRequest::kIdFieldNumber};
  return rpc::TextField(request_, service_.policy().limits.request_bytes, kId);
}

void InferStream::Send(const inference::ModelStreamInferResponse& response) {
  in_flight_ = rpc::SerializeMessage(response);
  StartWrite(&in_flight_);
}

void InferStream::OnWriteDone(bool ok) {
  if (std::exchange(answered_, false)) return ReadNext();
  current()->OnWritten(ok ? absl::OkStatus() : deadline_.WhyCancelled());
}

void InferStream::OnCancel() {
  if (const auto call = current()) call->OnCancel(deadline_.WhyCancelled());
}

void InferStream::EndStream() {
  if (const auto unused = std::move(first_)) unused->SetStatus(absl::OkStatus());
  ServerBidiReactor::Finish(context_.IsCancelled() ? rpc::ToGrpcStatus(deadline_.WhyCancelled())
                                                   : grpc::Status::OK);
}

std::shared_ptr<service::Generation> InferStream::current() {
  const std::lock_guard lock(mutex_);
  return call_;
}

void InferStream::OnDone() {
  const std::shared_ptr<InferStream> self = std::move(self_);
  const auto last = std::move(call_);
}

}  // namespace fmaserver::kserve
