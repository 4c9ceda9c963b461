/*
 * disk.c
 *	  For LD_PRELOAD: a disk that fails while there is a file PLACE/broken, and that says by a
 *	  file PLACE/called that it was called.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int
fdatasync(int file)
{
	close(open(PLACE "/called", O_CREAT | O_WRONLY, 0666));
	if (access(PLACE "/broken", F_OK) == 0)
	{
		errno = EIO;
		return -1;
	}
	return 0;
}
