// A client of HTTP/1 over a real socket, which can send anything.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"

namespace fmaserver::testing {

struct HttpAnswer {
  int status = 0;                              ///< 0: the connection ended before an answer
  std::map<std::string, std::string> headers;  ///< names in lower case
  std::string body;                            ///< without the framing of chunks
  bool complete = false;                       ///< the body is all there
};

/// One connection. Waits for 20 s at most.
class HttpClient {
 public:
  explicit HttpClient(int port);

  void Send(std::string_view bytes);
  /// A request with this body, and what else its head shall say.
  void Ask(std::string_view method, std::string_view path, std::string_view body = "",
           std::string_view headers = "");
  /// The next answer.
  HttpAnswer Receive();
  /// Reads until `text` has come; false when the connection ends before.
  bool AwaitText(std::string_view text);
  /// Whether the server ends the connection, whatever it sends before.
  bool IsClosed();
  void Close() { socket_ = FileDescriptor(); }

 private:
  bool Fill();
  bool FillUntil(size_t size);
  std::string Line();
  void ReceiveChunks(HttpAnswer& answer);

  FileDescriptor socket_;
  std::string received_;
};

/// The answer to one request on a connection of its own.
HttpAnswer Post(int port, std::string_view path, std::string_view body);
HttpAnswer Get(int port, std::string_view path);
HttpAnswer Delete(int port, std::string_view path);

}  // namespace fmaserver::testing
