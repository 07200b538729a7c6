# For tests: runs a command under a seccomp filter, as container runtimes set one. System calls fail, all else is allowed.
#   python3 forbid.py 1 425,426 node …      io_uring_setup and io_uring_enter fail with EPERM
import ctypes, os, struct, sys

errno, numbers, command = int(sys.argv[1]), [int(number) for number in sys.argv[2].split(',')], sys.argv[3:]
LOAD_NUMBER, SKIP_UNLESS_EQUAL, RETURN = 0x20, 0x15, 0x06
steps = [(LOAD_NUMBER, 0, 0, 0)]
for number in numbers:
    steps += [(SKIP_UNLESS_EQUAL, 0, 1, number), (RETURN, 0, 0, 0x00050000 | errno)]
steps += [(RETURN, 0, 0, 0x7FFF0000)]
program = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))


class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('steps', ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
filter = Filter(len(steps), ctypes.addressof(program))
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter)):
    sys.exit('seccomp: ' + os.strerror(ctypes.get_errno()))
os.execvp(command[0], command)
