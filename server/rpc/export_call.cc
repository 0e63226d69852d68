#include "server/rpc/export_call.h"

#include <utility>

#include "fma/v1/sessions.pb.h"
#include "server/rpc/byte_buffer.h"
#include "server/rpc/status.h"

namespace fmaserver::rpc {

ExportCall* ExportCall::Start(const Services& services, std::shared_ptr<Call> record,
                              const grpc::ByteBuffer& request) {
  auto* call = new ExportCall(services, std::move(record));
  if (!call->call_->admission().ok()) {
    call->End(call->call_->admission());
    return call;
  }
  services.workers.Run([call, request] {
    if (absl::Status status = call->Open(request); !status.ok()) {
      call->End(status);
    } else {
      call->WriteNext();
    }
  });
  return call;
}

absl::Status ExportCall::Open(const grpc::ByteBuffer& request) {
  v1::ExportSessionRequest message;
  if (absl::Status status = ParseMessage(request, message); !status.ok()) return status;
  auto blob =
      services_.sessions.Export({call_->tenant(), message.session_id()}, message.head_only());
  if (!blob.ok()) return blob.status();
  blob_ = *std::move(blob);
  return absl::OkStatus();
}

void ExportCall::WriteNext() {
  constexpr size_t kPieceBytes = size_t{512} << 10;  // well below the 4 MiB that clients accept
  absl::StatusOr<std::string> piece = blob_->Next(kPieceBytes);
  if (!piece.ok() || piece->empty()) {
    End(piece.status());
    return;
  }
  v1::ExportSessionResponse response;
  response.set_data(*std::move(piece));
  in_flight_ = SerializeMessage(response);
  StartWrite(&in_flight_);
}

void ExportCall::OnWriteDone(bool ok) {
  if (!ok) {
    End(absl::CancelledError("the client went away"));
    return;
  }
  services_.workers.Run([this] { WriteNext(); });
}

void ExportCall::End(const absl::Status& status) {
  call_->SetStatus(status);
  Finish(ToGrpcStatus(status));
}

}  // namespace fmaserver::rpc
